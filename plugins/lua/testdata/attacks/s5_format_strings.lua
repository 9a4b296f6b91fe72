-- want: ran out of memory
function on.test()
  local s, t = ("x"):rep(1e6), {}
  for i = 1, 40 do t[i] = s end
  return string.format(("%s"):rep(40), unpack(t))
end
