-- want: cannot be changed
local seen = {}
local function same(t) return t end
function on.test() setmetatable(same(seen), {}) end
