-- want: ran out of memory
function on.test()
  local t = {}
  for i = 1, 1e9 do
    local a, b, c, d, e, f, g, h, j, k
    t[i] = function() return a, b, c, d, e, f, g, h, j, k, i end
  end
end
