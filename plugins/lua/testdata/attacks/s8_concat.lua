-- want: stack overflow
function on.test() return setmetatable({}, {__concat = function(a, b) return a .. b end}) .. "x" end
