-- want: stack overflow
function on.test()
  local function f(...) return f(1, ...) end
  return f(unpack({}, 1, 4000))
end
