-- want: attempt to set field
function on.test()
  local key = setmetatable({}, {__tostring = function() while true do end end})
  local n = nil
  n[key] = 1
end
