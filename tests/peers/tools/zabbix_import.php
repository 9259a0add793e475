<?php
// Reads an export of Zabbix and checks it as Zabbix' frontend does before it imports one.
//
// usage: zabbix_import.php FILE

error_reporting(E_ERROR);

const FRONTEND = 'target/peers/zabbix/';

require '/usr/share/php/Symfony/Component/Yaml/autoload.php';

// What gettext would bring.
if (!function_exists('_')) {
    function _($text) {
        return $text;
    }
}

foreach (['gettextwrapper', 'defines', 'translateDefines', 'func', 'validate'] as $name) {
    require_once FRONTEND.$name.'.inc.php';
}

spl_autoload_register(function ($class) {
    $files = new RecursiveIteratorIterator(new RecursiveDirectoryIterator(FRONTEND.'classes'));
    foreach ($files as $file) {
        if ($file->getFilename() === $class.'.php') {
            require_once $file;
            return;
        }
    }
});

try {
    $export = (new CYamlImportReader())->read(file_get_contents($argv[1]));
    $validator = new CXmlValidator(new CImportValidatorFactory('yaml'), 'yaml');
    $validator->setStrict(true)->validate($export, '/');
}
catch (Exception $problem) {
    echo $problem->getMessage(), "\n";
    exit(1);
}
