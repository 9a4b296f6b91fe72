-- want: stack overflow
local function f() for _ in f do end end
function on.test() f() end
