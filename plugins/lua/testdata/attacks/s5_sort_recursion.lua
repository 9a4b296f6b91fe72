-- want: stack overflow
local function sort() table.sort({3, 2, 1}, sort) end
function on.test() sort() end
