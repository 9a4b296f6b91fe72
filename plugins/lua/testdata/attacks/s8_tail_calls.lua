-- want: ran out of instructions
local function f() return f() end
function on.test() f() end
