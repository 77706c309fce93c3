"""Networks shared by step 1 and by the methods that train one."""
