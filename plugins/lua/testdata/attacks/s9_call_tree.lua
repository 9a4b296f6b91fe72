-- want: ran out of instructions
local function f(n) if n > 0 then f(n - 1) f(n - 1) end end
function on.test() f(40) end
