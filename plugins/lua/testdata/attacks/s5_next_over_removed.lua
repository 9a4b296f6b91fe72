-- want: ran out of
function on.test()
  local t = {}
  for i = 0.5, 10000 do t[i] = 1 end
  for i = 0.5, 10000 do t[i] = nil end
  while true do next(t) end
end
