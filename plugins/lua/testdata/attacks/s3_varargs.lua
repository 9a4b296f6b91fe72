-- want: ran out of
function on.test()
  local keep = {}
  local function f(...) keep[#keep + 1] = {...} end
  while true do f(unpack({}, 1, 4000)) end
end
