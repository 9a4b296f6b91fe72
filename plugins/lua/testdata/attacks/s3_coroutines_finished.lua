-- want: ran out of memory
function on.test()
  local t = {}
  for i = 1, 1e6 do t[i] = coroutine.create(function() end) coroutine.resume(t[i]) end
end
