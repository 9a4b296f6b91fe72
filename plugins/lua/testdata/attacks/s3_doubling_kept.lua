-- want: ran out of memory
function on.test()
  local t, s = {}, "0123456789"
  while true do s = s .. "x" t[#t + 1] = s end
end
