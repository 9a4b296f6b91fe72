-- want: this table cannot be changed
local seen = {2, 1}
local function same(t) return t end
function on.test() table.sort(same(seen)) end
