-- want: stack overflow
local function f(s) return (s:gsub(".", f)) end
function on.test() return f("x") end
