-- want: stack overflow
local function f() return 1 + f() end
function on.test() f() end
