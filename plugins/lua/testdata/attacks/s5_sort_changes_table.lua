-- want: ran out of
function on.test()
  local t = {}
  for i = 1, 500 do t[i] = i end
  while true do table.sort(t, function(a, b) table.remove(t) return a > b end) for i = 1, 10 do t[i] = i end end
end
