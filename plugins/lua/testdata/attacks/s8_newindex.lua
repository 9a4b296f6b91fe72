-- want: stack overflow
function on.test()
  local t = setmetatable({}, {__newindex = function(t, k, v) t[k] = v end})
  t.x = 1
end
