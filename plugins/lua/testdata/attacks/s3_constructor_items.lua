-- want: ran out of memory
function on.test()
  local keep = {}
  for i = 1, 1e9 do keep[i] = {[64] = 1} end
end
