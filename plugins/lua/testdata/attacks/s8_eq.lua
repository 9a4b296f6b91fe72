-- want: stack overflow
function on.test()
  local mt = {__eq = function(a, b) return a == b end}
  return setmetatable({}, mt) == setmetatable({}, mt)
end
