-- want: ran out of instructions
local function f(n)
  if n == 0 then while true do end end
  return coroutine.wrap(f)(n - 1)
end
function on.test() f(10) end
