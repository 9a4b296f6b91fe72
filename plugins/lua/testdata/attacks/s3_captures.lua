-- want: ran out of
function on.test()
  local t, s = {}, ("x"):rep(1000)
  for i = 1, 1e9 do t[i] = {s:match("((((((((((.*))))))))))")} end
end
