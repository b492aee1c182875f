# Clients of a served pool.  How much they do, unless the environment says
# otherwise: less where the sanitizers make all of it slow.

if(NOT THINBD_SANITIZE MATCHES "thread") # nbdkit has no part in that
  set(fsx_operations 100000)
  set(linear_operations 100000)
  if(THINBD_SANITIZE)
    set(fsx_operations 15000)
    set(linear_operations 15000)
  endif()

  add_executable(fsx_nbd fsx_nbd.c fsx_shadow.c served.c)
  target_link_libraries(fsx_nbd PRIVATE PkgConfig::libnbd)
  thinbd_test(stress/fsx TIMEOUT 600 COMMAND fsx_nbd ${fsx_operations} 10)

  add_executable(linear_nbd linear_nbd.c history.c served.c)
  target_link_libraries(linear_nbd PRIVATE PkgConfig::libnbd Threads::Threads)
  thinbd_test(stress/linear TIMEOUT 600 COMMAND linear_nbd ${linear_operations} 10)
endif()
