-- want: too many __newindex
function on.test()
  local t = {}
  setmetatable(t, {__newindex = t})
  t.x = 1
end
