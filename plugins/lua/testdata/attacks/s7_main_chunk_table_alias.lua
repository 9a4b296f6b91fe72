-- want: this table cannot be changed
local seen = {}
local function put(t) t.x = true end
function on.test() put(seen) end
