-- want: ran out of time (200ms)
-- time: 200ms
function on.test()
  local t, n = {}, 0
  t[100000] = 1
  t[100000] = nil
  while true do n = n + #t end
end
