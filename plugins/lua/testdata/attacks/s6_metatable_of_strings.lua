-- want: false
function on.test() error(tostring(getmetatable("")) .. tostring(("").__index)) end
