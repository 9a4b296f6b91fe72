-- want: stack overflow
function on.test() return 1 + setmetatable({}, {__call = function(self) return 1 + self() end})() end
