-- want: ran out of instructions
function on.test()
  local set = "[" .. ("b"):rep(100000) .. "]"
  return ("a"):rep(100000):find(set)
end
