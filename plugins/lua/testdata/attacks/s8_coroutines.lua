-- want: nested more than 16 deep
local function f() return coroutine.wrap(f)() end
function on.test() f() end
