-- want: ran out of memory
function on.test()
  local keep, ones = {}, {}
  for i = 1, 4000 do ones[i] = 1 end
  local function f(...) keep[#keep + 1] = {...} end
  while true do f(unpack(ones)) end
end
