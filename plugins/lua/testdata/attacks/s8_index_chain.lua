-- want: too many recursions in gettable
function on.test()
  local t = {}
  setmetatable(t, {__index = t})
  return t.x
end
