-- want: this table cannot be changed
local s = string
local function put(t) t.upper = nil end
put(s)
