-- want: this table cannot be changed
local seen = {}
function on.test() setmetatable({}, {__newindex = seen}).x = 1 end
