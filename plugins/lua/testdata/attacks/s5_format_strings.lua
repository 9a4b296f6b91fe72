-- want: ran out of memory
function on.test()
  local s = ("x"):rep(1e6)
  return string.format(("%s"):rep(1000), (function(...) return ... end)(s, s, s, s, s, s, s, s, s, s, s))
end
