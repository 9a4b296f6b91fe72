-- want: ran out of memory
function on.test()
  local keep = {}
  for i = 1, 1e9 do local t = {} t[60000] = 1 keep[i] = t end
end
