-- want: ran out of memory
function on.test()
  local t, s = {}, ("x"):rep(1e6)
  for i = 1, 1e9 do t[i] = s:upper() end
end
