-- want: ran out of instructions
local function spin() while true do end end
function on.test()
  while true do coroutine.resume(coroutine.create(spin)) end
end
