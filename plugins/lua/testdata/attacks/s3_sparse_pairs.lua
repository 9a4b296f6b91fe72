-- want: ran out of memory
function on.test()
  local keep = {}
  for i = 1, 1e9 do local t = {1} for k = 10, 1e5, 7 do t[k] = 1 end keep[i] = t end
end
