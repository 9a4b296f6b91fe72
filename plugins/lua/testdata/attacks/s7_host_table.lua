-- want: this table cannot be changed
local h = host
local function put(t) t.x = 1 end
function on.test() put(h) end
