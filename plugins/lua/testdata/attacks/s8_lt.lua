-- want: stack overflow
function on.test()
  local mt = {__lt = function(a, b) return a < b end}
  return setmetatable({}, mt) < setmetatable({}, mt)
end
