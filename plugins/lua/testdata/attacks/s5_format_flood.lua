-- want: ran out of
function on.test()
  local t, f, zeros = {}, ("%99d"):rep(2000), {}
  for i = 1, 2000 do zeros[i] = 0 end
  for i = 1, 1e9 do t[i] = string.format(f, unpack(zeros)) end
end
