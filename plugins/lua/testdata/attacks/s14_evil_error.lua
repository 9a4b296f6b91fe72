-- want: error object (a table value)
function on.test() error(setmetatable({}, {__tostring = function() while true do end end, __index = function() while true do end end})) end
