-- want: ran out of time (200ms)
-- time: 200ms
function on.test()
  local a, b = ("x"):rep(1e6), ("x"):rep(1e6)
  local n = 0
  while true do if a < b then n = n + 1 end end
end
