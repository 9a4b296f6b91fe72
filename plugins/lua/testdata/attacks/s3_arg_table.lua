-- want: ran out of
function on.test()
  local function f(...) end
  while true do f(1, 2, 3) end
end
