-- want: this table cannot be changed
local seen = {}
local function same(t) return t end
function on.test() table.insert(same(seen), 1) end
