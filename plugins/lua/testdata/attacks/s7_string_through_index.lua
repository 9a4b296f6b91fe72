-- want: this table cannot be changed
function on.test()
  local t = setmetatable({}, {__newindex = string})
  t.upper = function() return "mine" end
end
