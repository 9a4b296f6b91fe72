-- want: stack overflow
function on.test() return tostring(setmetatable({}, {__tostring = function(t) return tostring(t) end})) end
