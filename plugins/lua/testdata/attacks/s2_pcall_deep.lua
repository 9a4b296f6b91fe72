-- want: ran out of instructions
local function f(n)
  while true do pcall(f, n + 1) end
end
function on.test() f(1) end
