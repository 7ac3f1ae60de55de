mod broken_yaml;
