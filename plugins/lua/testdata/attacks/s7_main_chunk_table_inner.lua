-- want: this table cannot be changed
local seen = {list = {}}
local function list() return seen.list end
function on.test() list()[1] = true end
