-- want: ran out of
local function f() pcall(f) return 1 + f() end
function on.test() while true do pcall(f) end end
